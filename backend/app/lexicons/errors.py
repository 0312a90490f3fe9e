from app.kit.errors import Invalid, NotFound


class LexiconNotFound(NotFound):
    code, title = "lexicon_not_found", "There is no lexicon with this id"


class BadLexicon(Invalid):
    code, title = "bad_lexicon", "This lexicon cannot be read"
