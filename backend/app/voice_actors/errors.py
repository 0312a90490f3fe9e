from app.kit.errors import Conflict, NotFound


class VoiceActorNotFound(NotFound):
    code, title = "voice_actor_not_found", "There is no voice actor with this id"


class VoiceActorInUse(Conflict):
    code, title = "voice_actor_in_use", "This actor has voice models; delete them first"
