# Part of `make deps`: where there is an NVIDIA driver and no CUDA compiler, fetches one, so that what is built uses the
# GPU that is there. Files are pinned by their hashes (cuda_wheels.txt) and unpacked into the build folder; nothing is
# installed. Whatever does not work out ends in one line and a build for the CPU.
#
#   cmake -DTO=build/cuda-toolkit [-DFLAGS="-DHEARTH_CUDA=OFF ..."] -P cmake/cuda_toolkit.cmake
#
# For tests: WHEELS, another list; TOOLKITS, where else than on the PATH compilers are looked for; DRIVERS, the same for
# nvidia-smi and the kernel's own word of a driver.
cmake_minimum_required(VERSION 3.22)
if(NOT DEFINED WHEELS)
  set(WHEELS ${CMAKE_CURRENT_LIST_DIR}/cuda_wheels.txt)
endif()
if(NOT DEFINED TOOLKITS)
  set(TOOLKITS /usr/local/cuda/bin)
endif()
if(NOT DEFINED DRIVERS)
  set(DRIVERS /usr/lib/wsl/lib /proc/driver/nvidia)
endif()
set(needs 580)  # the oldest driver that runs what CUDA 13.0 compiles

include(${CMAKE_CURRENT_LIST_DIR}/fetch_wheels.cmake)
# In one line, and that is no failure.
macro(build_for_the_cpu why)
  say("building for the CPU alone: ${why}")
  return()
endmacro()

if("${FLAGS} $ENV{CMAKE_FLAGS}" MATCHES "-DHEARTH_CUDA=(OFF|ON)" OR "$ENV{HEARTH_CUDA}" STREQUAL "OFF")
  return()  # somebody has decided
endif()

# ---- Is there a GPU, and a compiler for it?
find_program(nvidia_smi nvidia-smi HINTS ${DRIVERS})
if(NOT nvidia_smi)
  foreach(folder ${DRIVERS})
    if(EXISTS ${folder}/version)
      build_for_the_cpu("there is an NVIDIA driver, but no nvidia-smi to ask for the GPU (a container without its tools?); \
-DHEARTH_CUDA=ON builds for every GPU")
    endif()
  endforeach()
  return()
endif()
execute_process(COMMAND ${nvidia_smi} --query-gpu=driver_version,name --format=csv,noheader
  OUTPUT_VARIABLE gpus RESULT_VARIABLE failed OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET TIMEOUT 60)
if(failed OR NOT gpus MATCHES "^([0-9]+)\\.([0-9.]+), ([^\n]+)")
  return()  # a driver without a GPU, or none that answers: AUTO builds for the CPU too
endif()
set(driver ${CMAKE_MATCH_1})
set(driver_text ${CMAKE_MATCH_1}.${CMAKE_MATCH_2})
set(gpu ${CMAKE_MATCH_3})
find_program(nvcc nvcc HINTS ${TO}/nvidia/cu13/bin PATHS ${TOOLKITS})
if(nvcc)
  execute_process(COMMAND ${nvcc} --version OUTPUT_VARIABLE version ERROR_QUIET)
  if(version MATCHES "release ([0-9]+)\\.([0-9]+)" AND CMAKE_MATCH_1 GREATER_EQUAL 12)
    return()
  endif()
endif()
if(driver LESS needs)
  build_for_the_cpu("the driver ${driver_text} of the ${gpu} is older than ${needs}, which CUDA 13.0 needs: install a newer \
driver, or a CUDA toolkit 12 (package nvidia-cuda-toolkit where the distribution's is that new)")
endif()
cmake_host_system_information(RESULT machine QUERY OS_PLATFORM)
if(NOT machine STREQUAL "x86_64")
  build_for_the_cpu("${gpu}, but no CUDA compiler (nvcc 12 or newer), and none is fetched for ${machine}")
endif()

# ---- Fetch it
wheels_size(${WHEELS} count megabytes)
say("${gpu}, but no CUDA compiler: fetching NVIDIA's (files: ${count}, ${megabytes} MB) to ${TO}; HEARTH_CUDA=OFF leaves it")
fetch_wheels("the CUDA compiler" ${WHEELS} ${TO} failure)
if(failure)
  build_for_the_cpu("${failure}")
endif()
