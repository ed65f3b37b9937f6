"""Files for those who take a path only, in memory: nothing of them is on any disk."""

import os


class MemoryFile:
    """A file without a name, that only this process sees (memfd_create(2)). Linux only."""

    def __init__(self) -> None:
        self._descriptor = os.memfd_create("argocd-token-refresh", os.MFD_CLOEXEC)
        self._content = b""
        self.path = f"/proc/self/fd/{self._descriptor}"

    def write(self, content: bytes) -> None:
        """Replace what it holds; its path stays, its time of change does not."""
        if content != self._content:
            os.ftruncate(self._descriptor, 0)
            os.pwrite(self._descriptor, content, 0)
            self._content = content

    def close(self) -> None:
        """Give the memory back."""
        os.close(self._descriptor)
