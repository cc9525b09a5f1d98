"""The colours that classes have in pictures."""


def palette(classes: int) -> tuple[tuple[int, int, int], ...]:
    """Return VOC's colours: of a class's number three bits at a time, from the highest bit of each channel down."""
    colours: list[tuple[int, int, int]] = []
    for number in range(classes):
        channels = [0, 0, 0]
        for place in range(8):
            for channel in range(3):
                channels[channel] |= (number >> (3 * place + channel) & 1) << (7 - place)
        colours.append((channels[0], channels[1], channels[2]))
    return tuple(colours)
