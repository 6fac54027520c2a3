"""The service's settings: `LADLE_*` variables, bounded, each with its reason."""

from typing import Annotated, Literal

from pydantic import AfterValidator, Field, SecretStr
from pydantic_settings import SettingsConfigDict

from ladle.placement.identity import Identities, checked_pairs
from ladle_contracts.fields import HOLD_MS_MAX
from ladle_contracts.settings import ClientSettings


class PlacementSettings(ClientSettings):
    """Everything `ladle placement` reads from its environment."""

    model_config = SettingsConfigDict(env_prefix="LADLE_", frozen=True, extra="ignore")

    database_url: SecretStr = Field(
        SecretStr("sqlite+aiosqlite:///ladle.db"),
        description="Journal and view: sqlite+aiosqlite:///PATH or postgresql+asyncpg://..., with "
        "TLS in ?sslmode=verify-full&sslrootcert=FILE&sslcert=FILE&sslkey=FILE",
    )
    holder: str = Field(
        "",
        max_length=128,
        description="This process's name in the lease; host, process id and a random part if empty",
    )
    link: Literal["fast", "plain"] = Field(
        "fast", description="How messages move: the fast link, or FastStream message by message"
    )
    lease_ms: int = Field(
        3_000, ge=500, le=60_000, description="An unchanged lease row is free after this long"
    )
    inbox_prefetch: int = Field(
        1_000, ge=1, le=10_000, description="Events in flight; must cover a second of statuses"
    )
    requests_prefetch: int = Field(
        10_000, ge=1, le=10_000, description="Requests that wait here: bounds the memory of a burst"
    )
    requests_wait_ms: int = Field(
        4_000,
        ge=100,
        le=60_000,
        description="A request that has waited longer, or half of its caller's time, is refused, "
        "`unavailable`; a caller asks again after five seconds of silence",
    )
    queries_prefetch: int = Field(200, ge=1, le=10_000, description="Reads in flight")
    batch_records_max: int = Field(
        512, ge=1, le=10_000, description="Records in one transaction: bounds the commit's time"
    )
    statuses_wait_ms: int = Field(
        1_000, ge=0, le=1_000, description="Plain statuses wait this long to share one record"
    )
    statuses_max: int = Field(
        500, ge=1, le=5_000, description="Plain statuses in one record; it must stay readable"
    )
    stop_grace_ms: int = Field(
        4_000, ge=0, le=120_000, description="On SIGTERM: how long batch and outbox may take"
    )
    http_host: str = Field("127.0.0.1", description="Where /livez, /readyz and /metrics listen")
    http_port: int = Field(
        9464, ge=0, le=65_535, description="Port of the same; 0 takes a free one"
    )
    http: bool = Field(True, description="Serve /livez, /readyz, /metrics and the AsyncAPI page")
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="JSON lines on standard error"
    )
    require_user_id: bool = Field(
        False,
        description="Refuse events whose broker-checked user does not own the server they name, "
        "and requests without such a user",
    )
    proxy_users: str = Field(
        "", description="Users who speak for others (`onbehalfof`), separated by commas"
    )
    server_users: Annotated[str, AfterValidator(checked_pairs)] = Field(
        "",
        description="user=server_id pairs, separated by commas, where the names differ",
    )
    owner_only: bool = Field(
        False,
        description="Only the user who allocated a room may move, extend and release it",
    )
    operators: str = Field(
        "",
        max_length=4_096,
        description="Users who may do so with any room, separated by commas",
    )
    caller_requests_per_s: int = Field(
        1_000,
        ge=0,
        le=100_000,
        description="Writing requests a second of one caller, and as many reads; 0: no limit",
    )
    caller_burst: int = Field(
        5_000, ge=1, le=100_000, description="How many of them may come at once"
    )
    snapshot_records: int = Field(
        100_000,
        ge=0,
        le=100_000_000,
        description="A snapshot of the view each so many records, so that going back is quick; "
        "0: none",
    )
    policy: Literal["least-loaded", "pack", "two-choice", "region-first"] = Field(
        "least-loaded", description="Which of the workers that fit is chosen"
    )
    hold_ms: int = Field(
        30_000,
        ge=1_000,
        le=HOLD_MS_MAX,
        description="How long an answered room is kept unconfirmed",
    )
    settle_ms: int = Field(
        120_000, ge=0, le=3_600_000, description="A reservation fades to what is seen in this time"
    )
    slow_start_ms: int = Field(
        60_000,
        ge=0,
        le=3_600_000,
        description="In this time a server that is new or back grows into its whole share of the "
        "load; 0: it has it at once",
    )
    flap_ms: int = Field(
        300_000,
        ge=0,
        le=86_400_000,
        description="What a return from lost or a restart costs a server: forgiven after so long, "
        "one after the other; 0: no damping",
    )
    flap_limit: int = Field(
        2, ge=1, le=100, description="So many are free; a server with more gets new rooms last"
    )
    damped_ms_max: int = Field(
        1_800_000,
        ge=1_000,
        le=86_400_000,
        description="How long after its last flap at the most",
    )
    cpu_permille_max: int = Field(
        850, ge=1, le=1_000, description="Nothing new on a worker at or above this CPU"
    )
    bus_out_ms: int = Field(
        600_000, ge=0, le=3_600_000, description="How long a silent majority means a broken bus"
    )
    room_age_ms_max: int = Field(
        43_200_000,
        ge=60_000,
        le=31_536_000_000,
        description="A room ends at this age where its server sends no complete statuses",
    )
    requests_quorum: bool = Field(
        False, description="Make placement.requests a quorum queue (clusters)"
    )

    @property
    def database(self) -> str:
        """The database's URL with its password."""
        return self.database_url.get_secret_value()

    @property
    def identities(self) -> Identities:
        """Who may speak for whom."""
        return Identities.parse(
            required=self.require_user_id,
            proxy_users=self.proxy_users,
            server_users=self.server_users,
        )
