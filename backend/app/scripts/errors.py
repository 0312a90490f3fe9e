from app.kit.errors import NotFound


class ScriptNotFound(NotFound):
    code, title = "script_not_found", "There is no script with this id"
