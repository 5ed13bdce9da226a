#!/usr/bin/env bash
# Installs the Debian packages that building, running and testing need and that are missing; `setup.sh slow` those of the
# slow tests too, `setup.sh browser` a browser for those of the page. Does nothing where all are there. Rust itself is not installed: see rust-toolchain.toml.
set -euo pipefail

packages=(
  # build: C compiler for -sys crates, pkg-config, GStreamer with its RTSP server, headers of cairo, pango and gdk-pixbuf
  gcc g++ libc6-dev make pkg-config
  libgstreamer1.0-dev libgstreamer-plugins-base1.0-dev libgstrtspserver-1.0-dev libcairo2-dev libpango1.0-dev
  libgdk-pixbuf-2.0-dev
  # run: demuxers, decoders, x264enc, videobox, overlaycomposition, windows on X11, a font for captions, pictures of phones
  gstreamer1.0-plugins-base gstreamer1.0-plugins-good gstreamer1.0-plugins-bad gstreamer1.0-plugins-ugly
  gstreamer1.0-libav gstreamer1.0-x fonts-dejavu-core heif-gdk-pixbuf
  # test and demo: other people's tools to make, to serve and to read videos; pip fetches the demo clip
  ffmpeg gstreamer1.0-tools openssl procps python3 unzip vlc-bin vlc-plugin-base util-linux bsdutils libheif-examples
)
# A relay of SRT; a linker and a processor of aarch64.
[ "${1:-}" != slow ] || packages+=(srt-tools gcc-aarch64-linux-gnu libc6-dev-arm64-cross qemu-user)
[ "${1:-}" != browser ] || packages+=(chromium)
# Any pip will do (a Python outside Debian's packages brings its own).
python3 -m pip --version >/dev/null 2>&1 || packages+=(python3-pip)

missing=()
for package in "${packages[@]}"; do
  # `ii` alone means installed; removed packages leave `rc` behind.
  [ "$(dpkg-query -W -f='${db:Status-Abbrev}' "$package" 2>/dev/null | tr -d ' ')" = ii ] || missing+=("$package")
done
if [ "${#missing[@]}" -gt 0 ]; then
  echo "setup: installing ${missing[*]}" >&2
  as_root=()
  if [ "$(id -u)" -ne 0 ]; then
    command -v sudo >/dev/null || { echo "setup: ${missing[*]} are missing; install them as root" >&2; exit 1; }
    as_root=(sudo)
  fi
  "${as_root[@]}" apt-get update -qq
  "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >&2
fi

command -v cargo >/dev/null || {
  echo "setup: Rust is missing. Install rustup (its site tells how), then run this again; rust-toolchain.toml picks the version." >&2
  exit 1
}
