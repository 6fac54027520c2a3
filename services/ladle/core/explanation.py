"""A recorded decision in sentences, for people who were not there and need not know the code.

Everything is read from the record: it says what was known then, not what is known now.
"""

from collections.abc import Mapping
from typing import Any

Json = Mapping[str, Any]

# Of one server and of several, in the order in which servers are ruled out.
_RULED_OUT = {
    "lost": "had gone silent for so long that it counts as lost",
    "stale": "had missed its last reports",
    "draining": "was draining",
    "drained": "was drained",
    "conflicting": "had ports that another server had first",
    "no-workers": "had no running worker",
    "damped": "had come and gone too often of late",
    "labels": "did not carry the labels asked for",
    "regions": "stood in another region",
    "avoided": "was to be avoided",
    "cpu": "had no worker whose CPU was below the limit",
    "full": "had no worker with enough room",
}
_PLURAL = {"was ": "were ", "that it counts": "that they count", "its last": "their last"}

_POLICIES = {
    "least-loaded": "takes the emptiest worker that has enough room",
    "pack": "fills the server that is nearly full before it begins another",
    "two-choice": "draws two servers that have enough room and takes the better one",
    "region-first": "takes the emptiest worker of the first listed region that has enough room",
}


def explain(decision: Json, room_id: str) -> list[str]:
    """Why a room got the home that it got, or none: one plain sentence an item.

    decision: as core/decide.py records it.
    """
    lines = [_asked(decision["wish"], room_id), *_conditions(decision["wish"])]
    if decision["operation"] == "extend":
        return [*lines, *_extended(decision)]
    lines += _looked_at(decision)
    if "error" in decision:
        return [*lines, *_refused(decision["error"])]
    lines.append(
        f"The policy {decision['policy']} (version {decision['policy_version']}) "
        f"{_POLICIES[decision['policy']]}."
    )
    return [*lines, *_chosen(decision)]


def why_not(decision: Json, pinned: Json, server_id: str) -> list[str]:
    """Why another server than the chosen one did not get the room, one plain sentence an item.

    pinned: the decision as it would have been, had only `server_id` done.
    """
    asked = decision["wish"].get("server_id")
    if asked not in (None, server_id):
        return [f"Server {server_id} was not looked at: the caller asked for server {asked}."]
    if "error" in pinned:
        (reason,) = pinned["fell"]
        return [f"Server {server_id} was out: it {_RULED_OUT[reason]}.", *_would_fit(pinned)]
    mine = pinned["winner"]
    if "error" in decision:
        said = "but the record says that none would: `ladle audit verify` tells whether it holds"
        return [f"Server {server_id} would have done: {_state(mine)}; {said}."]
    winner = decision["winner"]
    if winner["server_id"] == server_id:
        return [f"It was chosen: {_worker(winner)}."]
    return [f"Server {server_id} would have done: {_state(mine)}.", *_beaten(decision, pinned)]


def _would_fit(pinned: Json) -> list[str]:
    largest = pinned["error"]["details"].get("largest_room_peers", 0)
    if "full" not in pinned["fell"] or not largest:
        return []
    return [f"The largest such room that fitted there was one of {_count(largest, 'peer')}."]


def _state(place: Json) -> str:
    return (
        f"of {_worker(place)}, {place['used']} of {_consumers(place['capacity'])} were in use and "
        f"its CPU stood at {_percent(place['cpu_permille'])}, so it counted as "
        f"{_percent(place['permille'])} full{_slowly(place)}"
    )


def _beaten(decision: Json, pinned: Json) -> list[str]:
    """By whom, and by what: regions come first, then what the policy compares."""
    mine, winner, policy = pinned["winner"], decision["winner"], decision["policy"]
    if pinned.get("last_resort") and not decision.get("last_resort"):
        return ["But it had come and gone too often of late, and others could take the room."]
    if not decision.get("region_fallback"):
        if pinned.get("region_fallback"):
            return ["But it stood in no region that the caller listed, and there was room in one."]
        is_later = policy == "region-first" and "regions" in decision["wish"]
        if is_later and mine["region"] != winner["region"]:
            return [f"But the caller listed {winner['region']} before, and there was room."]
    if policy == "pack":
        return [_roomier(mine, winner) or _same(winner)]
    if policy == "two-choice":
        drawn = [winner["server_id"], *(other["server_id"] for other in decision["runners_up"])]
        if mine["server_id"] not in drawn:
            return [f"But it was not drawn: of {decision['fitted']} servers, {_and(drawn)} were."]
    return [_fuller(mine, winner) or _same(winner)]


def _roomier(mine: Json, winner: Json) -> str | None:
    """What pack compares: the roomiest worker of each server."""
    left, other = mine["server_headroom"], winner["server_headroom"]
    if left == other:
        return None
    return (
        f"But its roomiest worker had room for {left} more, and that of server "
        f"{winner['server_id']} for {other}: what is nearly full is filled first."
    )


def _fuller(mine: Json, winner: Json) -> str | None:
    """What the other policies compare: how full two workers count, then the room that is left."""
    if mine["permille"] != winner["permille"]:
        return f"But a better one was chosen: {_state(winner)}."
    left, other = (place["capacity"] - place["used"] for place in (mine, winner))
    if left == other:
        return None
    return (
        f"But {_worker(winner)} counted as full and had room for {other} more, not for {left}: "
        "the roomier one is taken."
    )


def _same(winner: Json) -> str:
    return f"But server {winner['server_id']} was as good, and of equals the first id is taken."


def _and(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def _asked(wish: Json, room_id: str) -> str:
    peers, streams = _count(wish["peers"], "peer"), _count(wish["streams"], "stream")
    if wish["publishers"] == wish["peers"]:
        who = f"each of whom publishes {streams}"
    else:
        verb = "publishes" if wish["publishers"] == 1 else "publish"
        who = f"{wish['publishers']} of whom {verb} {streams}"
    return (
        f"Room {room_id} was to have {peers}, {who}: that needs {_consumers(wish['cost'])}, "
        "a consumer being one stream sent to one peer."
    )


def _conditions(wish: Json) -> list[str]:
    lines = []
    if "server_id" in wish:
        lines.append(f"Only server {wish['server_id']} would do.")
    if "labels" in wish:
        labels = ", ".join(f"{name}={value}" for name, value in sorted(wish["labels"].items()))
        lines.append(f"Only servers with the labels {labels} would do.")
    if "regions" in wish:
        verb = "required" if wish["region_mode"] == "require" else "preferred"
        lines.append(f"The caller {verb} {_or(wish['regions'])}.")
    return lines


def _looked_at(decision: Json) -> list[str]:
    servers, fitted, offset = decision["servers"], decision["fitted"], decision["offset_seen"]
    lines = [
        f"After record {offset} of the journal, there {_were(servers, 'server')} to choose from."
    ]
    fell = decision["fell"]
    lines += [_ruled_out(fell[reason], reason) for reason in _RULED_OUT if reason in fell]
    if fitted:
        lines.append(f"That left {_count(fitted, 'server')} with enough room.")
    return lines


def _ruled_out(servers: int, reason: str) -> str:
    clause = _RULED_OUT[reason]
    if servers > 1:
        for one, several in _PLURAL.items():
            clause = clause.replace(one, several)
    return f"{servers} of them {clause}."


def _chosen(decision: Json) -> list[str]:
    winner = decision["winner"]
    lines = [
        f"It chose {_worker(winner)}: {winner['used']} of {_consumers(winner['capacity'])} "
        f"were in use and its CPU stood at {_percent(winner['cpu_permille'])}, "
        f"so it counted as {_percent(winner['permille'])} full{_slowly(winner)}."
    ]
    others = [f"{_worker(other)} ({_full(other)})" for other in decision["runners_up"]]
    if others:
        lines.append(f"Next would have been {', then '.join(others)}.")
    if decision.get("last_resort"):
        lines.append("It had come and gone too often of late, but no other server could take it.")
    if decision.get("region_fallback"):
        lines.append("No region that the caller listed had room, so another one serves.")
    return lines


def _extended(decision: Json) -> list[str]:
    if "error" in decision:
        return _refused(decision["error"])
    winner = decision["winner"]
    lines = [
        f"It stays on {_worker(winner)}, which has room for that: {winner['used']} of "
        f"{_consumers(winner['capacity'])} are in use with it."
    ]
    if decision.get("region_fallback"):
        lines.append("That server is in no region that the caller listed; a room has one router.")
    return lines


def _refused(error: Json) -> list[str]:
    lines = [f"It was refused ({error['code']}): {error['message']}."]
    largest = error["details"].get("largest_room_peers", 0)
    if largest:
        lines.append(f"The largest such room that fitted was one of {_count(largest, 'peer')}.")
    if error["retryable"]:
        wait_ms = error["retry_after_ms"]
        lines.append(f"The same request may succeed later; {wait_ms // 1000} s is a fair wait.")
    else:
        lines.append("The same request will not succeed while the servers are what they were.")
    return lines


def _worker(place: Json) -> str:
    where = f" in {place['region']}" if place.get("region") else ""
    if place["worker_id"] is None:
        return f"server {place['server_id']}{where}, which chooses the worker itself"
    return f"worker {place['worker_id']} of server {place['server_id']}{where}"


def _full(place: Json) -> str:
    left = place["capacity"] - place["used"]
    return f"{_percent(place['permille'])} full{_slowly(place)}, room for {left} more"


def _slowly(place: Json) -> str:
    """Why it counts as fuller than it is."""
    share = place.get("share_permille")
    return "" if share is None else f" (new or back, with {_percent(share)} of a share)"


def _percent(permille: int) -> str:
    return f"{permille // 10}.{permille % 10} %"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _were(number: int, noun: str) -> str:
    return f"{'was' if number == 1 else 'were'} {_count(number, noun)}"


def _consumers(number: int) -> str:
    return _count(number, "consumer")


def _or(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} or {names[-1]}"
