"""Scenes in motion: the same drawings on tracks, with everything that is true about them."""

from scenes.motion.files import render_motion_files
from scenes.motion.moment import Moment
from scenes.motion.questions import MOTION_TASKS, MotionQuestion, Probe
from scenes.motion.track import MOTION_VERSION, Track, render_track

__all__ = [
    "MOTION_TASKS",
    "MOTION_VERSION",
    "Moment",
    "MotionQuestion",
    "Probe",
    "Track",
    "render_motion_files",
    "render_track",
]
