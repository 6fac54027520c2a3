"""What a run of the fleet is told; every option with its unit and the reason for its default."""

from dataclasses import dataclass, field

from ladle.fleet.server_model import Costs


@dataclass(frozen=True, slots=True)
class Faults:
    """What goes wrong by schedule; 0 switches a fault off. Seconds between two of a kind.

    Gaps are exponential around these means, drawn from the run's seed.
    """

    crash_every_s: float = 0.0
    worker_death_every_s: float = 0.0
    # A rolling deploy: the server drains, waits for its rooms, leaves, and comes back new.
    deploy_every_s: float = 0.0
    # The network between one server and the broker breaks; rooms and people stay.
    partition_every_s: float = 0.0
    # A pod that died is scheduled and started again in seconds.
    restart_after_s: float = 2.0
    worker_restart_after_s: float = 1.0
    # Longer than 12 status intervals, and Ladle calls the server lost and moves its rooms.
    partition_s: float = 20.0
    # A deploy that waits longer than this for its rooms goes on without them.
    drain_timeout_s: float = 30.0


@dataclass(frozen=True, slots=True)
class FleetOptions:
    """A run of emulated media servers and of the people who meet on them."""

    servers: int = 3
    workers: int = 4
    # mediasoup's own guidance: about 500 consumers a worker.
    capacity_consumers: int = 500
    regions: tuple[str, ...] = ()
    """Servers are spread over these in turn; empty: no region."""

    workload: str = "meetings"
    seed: int = 1
    # None: until cancelled or `Fleet.stop` is called; the demand then starts again each hour.
    duration_s: float | None = 30.0
    # Rooms per second, tuned for three servers of four workers at about half load.
    rate_per_s: float = 4.0
    # 60 real minutes in 15 s: a run of 30 s then shows whole lives.
    speed_up: float = 240.0
    burst_rooms: int = 200
    burst_peers: int = 2
    burst_window_ms: int = 0
    # People who ask for each room of a burst at the same moment.
    callers: int = 1

    # As the registration says; DESIGN's default. Stale after 3 of them, lost after 12.
    status_interval_ms: int = 5_000
    # Each k-th status lists every room (complete); 0: only on request.
    complete_every: int = 12
    costs: Costs = field(default_factory=Costs)
    faults: Faults = field(default_factory=Faults)

    cell: str = "default"
    server_prefix: str = "sfu"
    room_prefix: str = "fleet"
    connection_per_server: bool = False
    """False: all servers publish over one AMQP connection; True: each has its own, as in life."""

    # Servers start one after the other within this time, or all their statuses would come at once.
    start_spread_ms: int = 1_000
    # A publisher waits for its exchange for ever; a run should say that nobody is there.
    start_timeout_s: float = 30.0
    # How long an ask may take, its safe retries included, before it counts as an error.
    request_timeout_ms: int = 15_000
    # How long one caller goes on asking where it is refused or nobody answers.
    patience_ms: int = 15_000
    # A client that lost its server reconnects after about this.
    reconnect_ms: int = 300
    # Asks that may be under way at once; more callers wait, as behind a backend's pool.
    asks_max: int = 512

    settle_timeout_s: float = 30.0
    """How long the end waits for Ladle's view to agree, before it says where it differs."""

    leave: str = "deregister"
    """At the end: `deregister` the servers, `close-rooms` first as well, or `vanish`."""
