from app.kit.errors import AppError, NotFound


class SampleNotFound(NotFound):
    code, title = "sample_not_found", "There is no sample with this id"


class SampleFileMissing(NotFound):
    code, title = "sample_file_missing", "Sample file not found: upload the same recording again"


class UploadTooLarge(AppError):
    status, code, title = (
        413,
        "too_large",
        "The recording is larger than this service takes; cut it into parts",
    )


class UnusableRecording(AppError):
    """What the decoder found wrong with an upload; the code is the decoder's."""

    status, code, title = 422, "unusable_recording", "This recording cannot be used"

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(detail)
        self.code = code  # type: ignore[misc]
