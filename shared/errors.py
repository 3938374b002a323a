class CotamError(Exception):
    def __init__(self, message, hint=""):
        super().__init__(message)
class BundleCorrupt(CotamError): pass
class DecoderMismatch(CotamError): pass
