from app.speech.packages import versions


def test_only_what_is_installed_has_a_version() -> None:
    found = versions("numpy", "no-such-package")
    assert list(found) == ["numpy"]
    assert found["numpy"][0].isdigit()
