from app.kit.errors import Conflict, NotFound


class GenerationNotFound(NotFound):
    code, title = "generation_not_found", "There is no generation with this id"


class BatchNotFound(NotFound):
    code, title = "batch_not_found", "There is no batch with this id"


class VoiceNotReady(Conflict):
    code, title = "voice_not_ready", "The script's voice model has no state to speak with; train it first"


class NoTake(NotFound):
    code, title = "no_take", "This generation has no audio"


class NotSpokenYet(Conflict):
    code, title = "not_spoken_yet", "This generation is still under way; ask again in a moment"

    def __init__(self, status: str) -> None:
        super().__init__(f"It is {status}; ask again in a moment.", status_now=status, retry_after=1)


class TakeFileAltered(NotFound):
    code, title = "take_file_altered", "The file of this take was altered; generate the script again"


class TakeFileMissing(NotFound):
    code, title = "take_file_missing", "The file of this take is gone; generate the script again"
