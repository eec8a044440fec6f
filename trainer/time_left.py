"""Owns how a time that is left is said: rounded, for nobody knows it better."""


def in_words(seconds: float) -> str:
    """Such as "about 20 s", "about 5 min", "about 2.5 h"."""
    if seconds < 10:
        return "a few seconds"
    if seconds < 90:
        return f"about {round(seconds, -1):.0f} s"
    return f"about {seconds / 60:.0f} min" if seconds < 90 * 60 else f"about {seconds / 3600:.1f} h"
