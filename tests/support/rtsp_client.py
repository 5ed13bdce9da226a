"""Plays an RTSP address until so many frames have come: rtsp_client.py ADDRESS FRAMES. rtspt:// is over TCP."""

import asyncio
import sys

from aiortsp.rtsp.reader import RTSPReader


async def main(address: str, wanted: int) -> None:
    frames = last = 0
    async with RTSPReader(address) as reader:
        async for packet in reader.iter_packets():
            if last and packet.seq != (last + 1) % 65536:
                sys.exit(f"packet {packet.seq} follows {last}")
            last = packet.seq
            # The marker ends a frame (RFC 6184, section 5.1).
            frames += packet.m
            if frames >= wanted:
                return
    sys.exit(f"the stream ended after {frames} frames")


asyncio.run(asyncio.wait_for(main(sys.argv[1], int(sys.argv[2])), 20))
