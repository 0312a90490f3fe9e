"""The tables, one file each. Importing this module makes them all known to the metadata."""

from app.models.api_token import ApiToken
from app.models.batch import Batch
from app.models.generation import Generation
from app.models.idempotency_key import IdempotencyKey
from app.models.lexicon import Lexicon
from app.models.lexicon_version import LexiconVersion
from app.models.login_failure import LoginFailure
from app.models.sample import Sample
from app.models.script import Script
from app.models.sheet import Sheet
from app.models.sheet_line import SheetLine
from app.models.sheet_version import SheetVersion
from app.models.take import Take
from app.models.training_run import TrainingRun
from app.models.user import User
from app.models.voice_actor import VoiceActor
from app.models.voice_model import VoiceModel

__all__ = [
    "ApiToken",
    "Batch",
    "Generation",
    "IdempotencyKey",
    "Lexicon",
    "LexiconVersion",
    "LoginFailure",
    "Sample",
    "Script",
    "Sheet",
    "SheetLine",
    "SheetVersion",
    "Take",
    "TrainingRun",
    "User",
    "VoiceActor",
    "VoiceModel",
]
