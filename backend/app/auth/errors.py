from app.kit.errors import Conflict, Forbidden, NotFound, TooManyRequests, Unauthorized


class WrongPassword(Unauthorized):
    code, title = "wrong_password", "The name or the password is wrong"


class TooManyLogins(TooManyRequests):
    code, title = "too_many_logins", "Too many failed logins; wait fifteen minutes"


class InvalidToken(Unauthorized):
    code, title = "invalid_token", "A valid token is needed: sign in, or make one with `moksori token create`"


class NotAllowed(Forbidden):
    code, title = "not_allowed", "This needs another role or scope"


class UserNotFound(NotFound):
    code, title = "user_not_found", "There is no user with this id"


class TokenNotFound(NotFound):
    code, title = "token_not_found", "There is no token with this id"


class NameTaken(Conflict):
    code, title = "name_taken", "There is already a user of this name"


class LastAdministrator(Conflict):
    code, title = (
        "last_administrator",
        "Somebody must be able to administer: make another administrator first",
    )


class RequestUnderWay(Conflict):
    code = "request_under_way"
    title = "A request with this Idempotency-Key is being served; send it again for its answer"


class KeyReused(Conflict):
    code, title = "idempotency_key_reused", "This Idempotency-Key was used for another request"
