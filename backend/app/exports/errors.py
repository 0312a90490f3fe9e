from app.kit.errors import Conflict, Invalid


class Incomplete(Conflict):
    code = "export_incomplete"
    title = "Some lines are not ready; generate and approve them, or ask for `allow_incomplete`"


class NamesRefused(Invalid):
    code, title = "export_names", "Some files cannot be named as this system wants; nothing was made"


class BadOptions(Invalid):
    code, title = "export_options", "These options do not go with this preset"


class NothingToExport(Conflict):
    code, title = "nothing_to_export", "There is no line with a take to export"
