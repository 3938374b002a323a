"""How often each level of a level map is expected, given the neighbours: part of the format.

Measured on maps of 240 validation scenes and 29 photographs at cells of 16 and 32 pixels; three
levels mostly at k = 0.25, five at 0.25 to 0.75; of two, with 300 scenes, at 0 to 0.25.
"""

from __future__ import annotations

from typing import Final

DIAGONAL: Final = 0
STRAIGHT: Final = 1
ALONE: Final = (2, 0, 0)
COUNTS: Final[dict[int, dict[tuple[int, int, int], tuple[int, ...]]]] = {
    2: {
        (DIAGONAL, 0, 3): (128, 128),
        (DIAGONAL, 0, 4): (92, 164),
        (DIAGONAL, 1, 2): (128, 128),
        (DIAGONAL, 1, 3): (86, 170),
        (DIAGONAL, 2, 1): (128, 128),
        (DIAGONAL, 2, 2): (145, 111),
        (DIAGONAL, 3, 0): (128, 128),
        (DIAGONAL, 3, 1): (192, 64),
        (DIAGONAL, 4, 0): (243, 13),
        (STRAIGHT, 0, 3): (128, 128),
        (STRAIGHT, 0, 4): (8, 248),
        (STRAIGHT, 1, 2): (111, 145),
        (STRAIGHT, 1, 3): (29, 227),
        (STRAIGHT, 2, 1): (218, 38),
        (STRAIGHT, 2, 2): (115, 141),
        (STRAIGHT, 3, 0): (128, 128),
        (STRAIGHT, 3, 1): (211, 45),
        (STRAIGHT, 4, 0): (253, 3),
        ALONE: (200, 56),
    },
    3: {
        (DIAGONAL, 0, 0): (8, 232, 16),
        (DIAGONAL, 0, 1): (4, 191, 61),
        (DIAGONAL, 0, 2): (33, 131, 92),
        (DIAGONAL, 0, 3): (22, 63, 171),
        (DIAGONAL, 0, 4): (77, 32, 147),
        (DIAGONAL, 1, 0): (78, 132, 46),
        (DIAGONAL, 1, 1): (91, 70, 95),
        (DIAGONAL, 1, 2): (78, 32, 146),
        (DIAGONAL, 1, 3): (81, 17, 158),
        (DIAGONAL, 2, 0): (164, 53, 39),
        (DIAGONAL, 2, 1): (132, 39, 85),
        (DIAGONAL, 2, 2): (136, 21, 99),
        (DIAGONAL, 3, 0): (193, 30, 33),
        (DIAGONAL, 3, 1): (180, 16, 60),
        (DIAGONAL, 4, 0): (235, 7, 14),
        (STRAIGHT, 0, 0): (1, 250, 5),
        (STRAIGHT, 0, 1): (4, 201, 51),
        (STRAIGHT, 0, 2): (13, 104, 139),
        (STRAIGHT, 0, 3): (5, 28, 223),
        (STRAIGHT, 0, 4): (5, 6, 245),
        (STRAIGHT, 1, 0): (101, 122, 33),
        (STRAIGHT, 1, 1): (95, 77, 84),
        (STRAIGHT, 1, 2): (66, 41, 149),
        (STRAIGHT, 1, 3): (21, 13, 222),
        (STRAIGHT, 2, 0): (186, 51, 19),
        (STRAIGHT, 2, 1): (175, 32, 49),
        (STRAIGHT, 2, 2): (105, 26, 125),
        (STRAIGHT, 3, 0): (214, 31, 11),
        (STRAIGHT, 3, 1): (203, 16, 37),
        (STRAIGHT, 4, 0): (251, 3, 2),
        ALONE: (141, 67, 48),
    },
    5: {
        (DIAGONAL, 0, 0): (1, 5, 234, 6, 10),
        (DIAGONAL, 0, 1): (1, 2, 192, 20, 41),
        (DIAGONAL, 0, 2): (4, 14, 145, 26, 67),
        (DIAGONAL, 0, 3): (4, 11, 74, 40, 127),
        (DIAGONAL, 0, 4): (27, 34, 50, 21, 124),
        (DIAGONAL, 1, 0): (3, 67, 142, 19, 25),
        (DIAGONAL, 1, 1): (11, 74, 85, 27, 59),
        (DIAGONAL, 1, 2): (20, 53, 40, 29, 114),
        (DIAGONAL, 1, 3): (37, 44, 22, 16, 137),
        (DIAGONAL, 2, 0): (28, 129, 60, 12, 27),
        (DIAGONAL, 2, 1): (29, 97, 47, 19, 64),
        (DIAGONAL, 2, 2): (56, 76, 26, 13, 85),
        (DIAGONAL, 3, 0): (40, 147, 35, 9, 25),
        (DIAGONAL, 3, 1): (70, 108, 20, 9, 49),
        (DIAGONAL, 4, 0): (78, 156, 8, 3, 11),
        (STRAIGHT, 0, 0): (1, 1, 250, 2, 2),
        (STRAIGHT, 0, 1): (1, 2, 204, 21, 28),
        (STRAIGHT, 0, 2): (2, 5, 111, 42, 96),
        (STRAIGHT, 0, 3): (1, 2, 29, 44, 180),
        (STRAIGHT, 0, 4): (2, 2, 6, 25, 221),
        (STRAIGHT, 1, 0): (7, 94, 127, 14, 14),
        (STRAIGHT, 1, 1): (18, 66, 95, 29, 48),
        (STRAIGHT, 1, 2): (22, 37, 50, 30, 117),
        (STRAIGHT, 1, 3): (8, 11, 14, 20, 203),
        (STRAIGHT, 2, 0): (33, 149, 58, 6, 10),
        (STRAIGHT, 2, 1): (62, 107, 40, 13, 34),
        (STRAIGHT, 2, 2): (44, 59, 31, 18, 104),
        (STRAIGHT, 3, 0): (42, 173, 31, 3, 7),
        (STRAIGHT, 3, 1): (82, 120, 19, 6, 29),
        (STRAIGHT, 4, 0): (86, 163, 4, 1, 2),
        ALONE: (33, 65, 112, 10, 36),
    },
}
"""By number of levels and by context: where the neighbours lie, and how many of four are below and
above the base quality. Counts of a context sum to 256. Of two levels none is the base, so some
contexts cannot be."""
