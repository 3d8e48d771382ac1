# The front door. Two commands do everything on a fresh Debian or Ubuntu machine:
#   make chat    install what is missing, build, convert the bundled demo model, open a chat
#   make test    install what is missing, build, run every test
# Others: make (build), make deps, make sanitize (tests under ASan and UBSan), make format, make clean.

BUILD ?= build
MODEL ?= models/demo.gguf
JOBS  ?= $(shell nproc 2>/dev/null || echo 2)

PACKAGES = g++ cmake make ninja-build pkg-config libfmt-dev libxxhash-dev nlohmann-json3-dev libcli11-dev \
           libpcre2-dev libreadline-dev libboost-dev libcurl4-openssl-dev libssl-dev doctest-dev

.PHONY: all deps build chat test sanitize format clean
.DEFAULT_GOAL := all

all: build

# Installs only what is missing, and asks for sudo only if there is something to install. Where a GPU is and no CUDA
# compiler, that is fetched into the build folder.
deps:
	@missing=""; \
	for p in $(PACKAGES); do \
	  dpkg-query -W -f='$${Status}' $$p 2>/dev/null | grep -q "ok installed" || missing="$$missing $$p"; \
	done; \
	if [ -z "$$missing" ]; then exit 0; fi; \
	if ! command -v apt-get >/dev/null; then \
	  echo "make deps needs apt-get (Debian or Ubuntu). Install by hand what these packages hold:$$missing" >&2; exit 1; \
	fi; \
	echo "installing:$$missing"; \
	sudo=""; if [ "$$(id -u)" != 0 ]; then sudo=sudo; fi; \
	$$sudo env DEBIAN_FRONTEND=noninteractive apt-get update -qq </dev/null && \
	$$sudo env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $$missing </dev/null >/dev/null
	@cmake -DTO=$(abspath $(BUILD))/cuda-toolkit "-DFLAGS=$(CMAKE_FLAGS)" -P cmake/cuda_toolkit.cmake

$(BUILD)/build.ninja:
	@cmake -S . -B $(BUILD) -G Ninja -DCMAKE_BUILD_TYPE=Release $(CMAKE_FLAGS) >$(BUILD)-configure.log 2>&1 || \
	  { cat $(BUILD)-configure.log >&2; exit 1; }
	@mv $(BUILD)-configure.log $(BUILD)/configure.log

# The program alone; the tests are built by `make test`.
build: $(BUILD)/build.ninja
	@cmake --build $(BUILD) --target hearth -j $(JOBS) -- --quiet

$(MODEL): | build
	@mkdir -p $(dir $(MODEL))
	@$(BUILD)/hearth convert demo/checkpoint $(MODEL) --recipe bf16

# Input may be piped: `echo "What is 12 + 7?" | make chat` answers and exits.
chat: deps
	@$(MAKE) --no-print-directory build
	@$(MAKE) --no-print-directory $(MODEL)
	@$(BUILD)/hearth chat $(MODEL) --temp 0

test: deps
	@$(MAKE) --no-print-directory $(BUILD)/build.ninja
	@cmake --build $(BUILD) -j $(JOBS) -- --quiet
	@cd $(BUILD) && ctest --output-on-failure -j $(JOBS)

# The unit tests of some rooms once more under AddressSanitizer and UndefinedBehaviorSanitizer, in a build folder of
# their own.
SANITIZE_ROOMS ?= emulation quant kernels convert runtime fuzz
sanitize: deps
	@$(MAKE) --no-print-directory BUILD=$(BUILD)-sanitize CMAKE_FLAGS=-DHEARTH_SANITIZE=ON $(BUILD)-sanitize/build.ninja
	@cmake --build $(BUILD)-sanitize -j $(JOBS) --target $(SANITIZE_ROOMS:%=tests/%/all) -- --quiet
	@mkdir -p $(BUILD)-sanitize/rooms  # as one list: a core that has nothing left to do in a room goes on with the next
	@printf 'subdirs("../tests/%s")\n' $(SANITIZE_ROOMS) >$(BUILD)-sanitize/rooms/CTestTestfile.cmake
	@ctest --test-dir $(BUILD)-sanitize/rooms --output-on-failure -j $(JOBS)

format:
	@git ls-files '*.cpp' '*.h' '*.cu' '*.cuh' | xargs clang-format -i

clean:
	@rm -rf $(BUILD) $(BUILD)-sanitize $(BUILD)-single $(BUILD)-configure.log $(BUILD)-sanitize-configure.log
