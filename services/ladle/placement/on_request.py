"""A writing request: refused with a code, recalled if it was answered before, or decided."""

import time
import uuid

from ladle.core.received import recorded_request
from ladle.core.record import Kind
from ladle.placement.batch import Arrival, Recalled
from ladle.placement.callers import Callers
from ladle.placement.plain import plain
from ladle.placement.refusals import (
    REFUSED,
    refuse_request,
    refuse_unanswerable,
    refuse_unrecordable,
    reject,
)
from ladle.placement.replies import error_answer, may_answer
from ladle.placement.writer import Writer
from ladle_contracts.envelope import Request


class OnRequest:
    """The handler of the requests queue."""

    def __init__(self, callers: Callers) -> None:
        self._callers = callers

    def __call__(self, arrival: Arrival, writer: Writer) -> None:
        message = arrival.message
        if not may_answer(message.reply_to):
            refuse_unanswerable(arrival, writer, self._callers)
            return
        try:
            request, user = self._callers.read(message, arrival)
            known = recorded_request(writer.view, user, request.operation, request.request_id)
            if known is not None and known.digest == request.digest:
                # Never too often: a refusal would say of what was done that it was not.
                writer.batch.recalled.append(Recalled(message, known.offset, request.operation))
                return
            self._callers.count(user, arrival)
        except REFUSED as error:
            refuse_request(arrival, writer, error)
            return
        if known is not None:
            self._conflict(arrival, request, writer)
            return
        self._decide(arrival, request, user, writer)

    def _decide(self, arrival: Arrival, request: Request, user: str, writer: Writer) -> None:
        body = plain(request.body)
        inputs: dict[str, object] = {}
        if request.operation == "allocate" and body.get("room_id") is None:
            inputs["room_id"] = f"room-{uuid.uuid4().hex}"
        started = time.perf_counter()
        entry, outcome = writer.record(
            Kind.REQUEST,
            origin={"user": user, "request_id": request.request_id},
            inputs=inputs,
            payload={
                "operation": request.operation,
                "request_id": request.request_id,
                "digest": request.digest,
                "body": body,
            },
        )
        writer.metrics.decision_seconds.observe(time.perf_counter() - started)
        reply = outcome["reply"]
        decision = outcome.get("decision")
        if decision:
            result = reply.get("outcome") or reply["error"]["code"]
            policy = decision.get("policy") or "none"
            writer.metrics.decisions.inc(result, policy)
        writer.answer(arrival, reply, operation=request.operation, offset=entry.offset)

    def refuse(self, arrival: Arrival, writer: Writer, reason: str, detail: str) -> None:
        """A request that cannot be recorded as it is."""
        refuse_unrecordable(arrival, writer, reason, detail)

    def _conflict(self, arrival: Arrival, request: Request, writer: Writer) -> None:
        detail = (
            f"request_id {request.request_id!r} was used for another {request.operation} "
            "body in the last ten minutes; use a new id for a new request"
        )
        reject(arrival.message, writer, "conflict", detail)
        writer.answer(
            arrival,
            error_answer("conflict", detail),
            operation=request.operation,
            offset=writer.scribe.offset,
        )
