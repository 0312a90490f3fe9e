from app.kit.errors import Conflict, NotFound


class GenerationNotFound(NotFound):
    code, title = "generation_not_found", "There is no generation with this id"


class BatchNotFound(NotFound):
    code, title = "batch_not_found", "There is no batch with this id"


class VoiceNotReady(Conflict):
    code, title = "voice_not_ready", "The script's voice model has no state to speak with; train it first"


class NoTake(NotFound):
    code, title = "no_take", "This generation has no audio"


class TakeFileAltered(NotFound):
    code, title = "take_file_altered", "The file of this take was altered; generate the script again"


class TakeFileMissing(NotFound):
    code, title = "take_file_missing", "The file of this take is gone; generate the script again"
