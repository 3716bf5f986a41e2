"""An AM2Z runtime that hands its work to streaq."""

from streaq_runtime.runtime import StreaqRuntime

__all__ = ["StreaqRuntime"]
