"""What a person can do about a failure, by what the broker or the service said."""

BROKER_ADVICE = "check LADLE_AMQP_URL, and that the broker runs: `ladle doctor`"
LOGIN_ADVICE = (
    "check the user and the password in LADLE_AMQP_URL (`@`, `:` and `/` in them are written "
    "%40, %3A, %2F); the user guest may come from the broker's own machine alone"
)
VHOST_ADVICE = (
    "end LADLE_AMQP_URL with a virtual host that `rabbitmqctl list_vhosts` shows, and in which "
    "`rabbitmqctl list_permissions` shows this user"
)
RIGHTS_ADVICE = (
    "come as a user who may, or give this one the rights of its role (docs/security.md): "
    "`ladle broker check --users FILE` shows who may do what"
)
STARTING_ADVICE = "wait a moment and try again; if it stays so, look at the broker's log"
DECLARE_ADVICE = "declare it: `ladle broker declare`"
MISMATCH_ADVICE = (
    "let it run empty and delete it (`rabbitmqctl delete_queue`), then `ladle broker declare`; or "
    "use another LADLE_CELL"
)
SERVICE_ADVICE = "check that the placement service runs on this broker and cell: `ladle doctor`"
FLEET_ADVICE = (
    f"{SERVICE_ADVICE}; and that this user may speak for media servers (the role gateway in "
    "docs/security.md)"
)
WAIT_ADVICE = "the service may be taking over or busy; ask again, or look at its logs"
OFFSET_ADVICE = "name an offset that the journal has: `ladle view` prints the last one"
DATABASE_ADVICE = "check LADLE_DATABASE_URL: `ladle doctor`"
FOREIGN_ADVICE = "name a database of Ladle's own in LADLE_DATABASE_URL"
NEWER_ADVICE = "install the newer ladle that wrote this database"

_BY_WORDS = (
    ("Login was refused", LOGIN_ADVICE),
    ("does not open the virtual host", VHOST_ADVICE),
    ("ACCESS_REFUSED", RIGHTS_ADVICE),
    ("exists with other arguments", MISMATCH_ADVICE),
    ("PRECONDITION_FAILED", MISMATCH_ADVICE),
    ("is still starting", STARTING_ADVICE),
    ("did not answer within", STARTING_ADVICE),
    ("NOT_FOUND", DECLARE_ADVICE),
)
"""The first that fits: RabbitMQ tells its refusals apart by words, not by codes."""


def broker_advice(error: BaseException | str, otherwise: str = BROKER_ADVICE) -> str:
    """What to do about an error of the broker; `otherwise` where it says nothing that helps."""
    said = str(error)
    return next((advice for words, advice in _BY_WORDS if words in said), otherwise)
