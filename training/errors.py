"""The one error that training raises for what users can mend."""


class TrainingError(RuntimeError):
    """A run that cannot start or go on. The message is fit for users."""
