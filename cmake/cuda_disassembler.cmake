# Fetches NVIDIA's cuobjdump and nvdisasm, with which tests/kernels/cuda/counts looks at what nvcc made. (CUDA 13.0's own
# are not on PyPI; newer ones read what it makes.)
#
#   cmake -DTO=build/cuda-disassembler -P cmake/cuda_disassembler.cmake
cmake_minimum_required(VERSION 3.22)
include(${CMAKE_CURRENT_LIST_DIR}/fetch_wheels.cmake)
if(NOT DEFINED WHEELS)
  set(WHEELS ${CMAKE_CURRENT_LIST_DIR}/cuda_disassembler_wheels.txt)
endif()
if(NOT EXISTS ${TO}/nvidia/cu13/bin/nvdisasm)
  fetch_wheels("the CUDA disassembler" ${WHEELS} ${TO} failure)
  if(failure)
    say("instructions are not counted: ${failure}")
  endif()
endif()
