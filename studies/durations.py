"""Durations as people write them."""


def parse_duration(text: str) -> float:
    """The seconds of a duration such as `11h`, `90m`, `30s` or `1h30m`.

    Raises:
        ValueError: it is not one.
    """
    total, number = 0.0, ""
    for character in text.strip().lower():
        if character in "hms" and number:
            total += float(number) * {"h": 3600, "m": 60, "s": 1}[character]
            number = ""
        elif character in "0123456789.":
            number += character
        else:
            raise ValueError(text)
    if number or not total:
        raise ValueError(text)
    return total
