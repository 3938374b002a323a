"""Language models behind one small interface; `base.py` is the interface, `load.py` picks one."""
