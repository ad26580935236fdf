"""What stops an update, with what to do next."""


class UpdateError(Exception):
    def __init__(self, message: str, code: int = 1) -> None:
        super().__init__(message)
        self.code = code
