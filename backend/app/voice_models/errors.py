from app.kit.errors import Conflict, NotFound


class VoiceModelNotFound(NotFound):
    code, title = "voice_model_not_found", "There is no voice model with this id"


class VoiceModelInUse(Conflict):
    code, title = (
        "voice_model_in_use",
        "Scripts speak with this model: give them another voice",
    )


class NoGoodState(Conflict):
    code, title = "no_good_state", "This model has never been trained to the end; train it"


class TrainingStopped(Conflict):
    code, title = "training_stopped", "This training was stopped; what was in service before still is"


class VoiceFileMissing(Conflict):
    code, title = "voice_file_missing", "The files of this model's last good state are gone; train it again"


class TrainingFailed(Exception):
    """A step of a training that cannot go on: a code, what happened, and what to do."""

    def __init__(self, code: str, message: str, fix: str) -> None:
        super().__init__(message)
        self.code, self.fix = code, fix
