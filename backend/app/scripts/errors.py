from app.kit.errors import Invalid, NotFound


class ScriptNotFound(NotFound):
    code, title = "script_not_found", "There is no script with this id"


class BadMarkup(Invalid):
    code, title = "bad_markup", "The markup is broken"
