#!/usr/bin/env python3
"""A disk that can lose power: an ext4 image on a loop device and the kernel's "going down" call.

usage: powercut.py make IMAGE MIB MOUNTPOINT    a fresh filesystem, mounted
       powercut.py cut MOUNTPOINT               drops all that is not durable; every later access is an I/O error
       powercut.py restore IMAGE MOUNTPOINT     mounts again what the disk holds
       powercut.py remove MOUNTPOINT            unmounts; the image is the caller's to delete

Exit code 3 with one line on the standard error says that this machine does not allow it (no root, no loop
device, no permission to mount); any other failure is 1. Needs the Debian packages mount and e2fsprogs.
"""

import fcntl
import os
import struct
import subprocess
import sys

# _IOR('X', 125, __u32): ext4 shares the number with XFS, where the call was born.
EXT4_IOC_SHUTDOWN = 0x8004587D
# Nothing more reaches the disk, not even the filesystem's own journal: as if the plug were pulled.
NO_LOG_FLUSH = 2
# The kernel must not write back on its own within a test; seconds between commits of the ext4 journal.
MOUNT_OPTIONS = "loop,commit=300"
NOT_POSSIBLE = 3


class NotPossible(Exception):
    """This machine has not what the model needs."""


def run(*command):
    try:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    except FileNotFoundError as error:
        raise NotPossible(f"the command {command[0]} is missing") from error
    if done.returncode != 0:
        said = " ".join(done.stderr.split()) or f"exit code {done.returncode}"
        raise RuntimeError(f"{' '.join(command)}: {said}")


def mount(image, mountpoint):
    try:
        run("mount", "-t", "ext4", "-o", MOUNT_OPTIONS, image, mountpoint)
    except RuntimeError as error:
        raise NotPossible(str(error)) from error


def make(image, mib, mountpoint):
    if os.geteuid() != 0:
        raise NotPossible("only root may mount a loop device")
    with open(image, "wb") as file:
        file.truncate(int(mib) << 20)
    run("mkfs.ext4", "-q", "-F", image)
    os.makedirs(mountpoint, exist_ok=True)
    mount(image, mountpoint)


def shut_down(mountpoint):
    fd = os.open(mountpoint, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.ioctl(fd, EXT4_IOC_SHUTDOWN, struct.pack("I", NO_LOG_FLUSH))
    finally:
        os.close(fd)


def restore(image, mountpoint):
    run("umount", mountpoint)
    # A failed mount here is a broken filesystem, not a missing permission: it was mounted before.
    run("mount", "-t", "ext4", "-o", MOUNT_OPTIONS, image, mountpoint)


def remove(mountpoint):
    run("umount", mountpoint)


COMMANDS = {"make": (make, 3), "cut": (shut_down, 1), "restore": (restore, 2), "remove": (remove, 1)}


def main(arguments):
    command, count = COMMANDS.get(arguments[0] if arguments else "", (None, 0))
    if command is None or len(arguments) != count + 1:
        print(__doc__, file=sys.stderr)
        return 2
    try:
        command(*arguments[1:])
    except NotPossible as error:
        print(f"not possible here: {error}", file=sys.stderr)
        return NOT_POSSIBLE
    except (RuntimeError, OSError) as error:
        print(f"powercut: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
