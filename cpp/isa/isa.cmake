# The list of instruction sets. A new one takes an adagrad_isa() row here and, in cpu.cpp, a
# declaration, a detection unless every processor of the architecture has it, and a line in
# find_runnable().
#
# kernels.cpp and ctr_kernels.cpp are compiled once per row, with that row's flags. Rows are ordered
# by preference, the best last; cpu.cpp picks the last one that the machine can run.

# What makes the bits equal everywhere, and lets sqrt vectorize:
#   -O3                  g++ 12 does not vectorize at -O2
#   -fno-math-errno      sqrt need not set errno, so it may be an instruction
#   -fno-trapping-math   selects may evaluate both sides
#   -ffp-contract=off    a * b + c is rounded twice on every machine, as NumPy rounds it
# And -falign-loops=32, because loops over arrays in L2 lose 5 % at an unlucky address.
if(MSVC)
  set(ADAGRAD_KERNEL_FLAGS /O2 /fp:precise)
else()
  set(ADAGRAD_KERNEL_FLAGS -O3 -fno-math-errno -fno-trapping-math -ffp-contract=off -falign-loops=32)
endif()
if(CMAKE_CXX_FLAGS MATCHES "fast-math|/fp:fast|Ofast|funsafe-math")
  message(FATAL_ERROR "adagrad promises IEEE arithmetic: remove fast-math from CMAKE_CXX_FLAGS")
endif()

set(ADAGRAD_ISAS "" CACHE STRING "Compile only these rows (a list of names); all if empty")

add_library(adagrad_kernels INTERFACE)

# adagrad_isa(<name as in ADAGRAD_ISA> <C++ identifier> <flags>...)
function(adagrad_isa name identifier)
  if(ADAGRAD_ISAS AND NOT name IN_LIST ADAGRAD_ISAS)
    return()
  endif()
  set(target adagrad_kernels_${identifier})
  add_library(${target} OBJECT cpp/isa/kernels.cpp cpp/isa/ctr_kernels.cpp)
  target_link_libraries(${target} PRIVATE adagrad_options)
  target_compile_options(${target} PRIVATE ${ADAGRAD_KERNEL_FLAGS} ${ARGN})
  target_compile_definitions(${target} PRIVATE
    ADAGRAD_KERNELS=kernels_${identifier} ADAGRAD_CTR_KERNELS=ctr_kernels_${identifier}
    ADAGRAD_ISA="${name}")
  target_link_libraries(adagrad_kernels INTERFACE ${target} $<TARGET_OBJECTS:${target}>)
  target_compile_definitions(adagrad_kernels INTERFACE ADAGRAD_HAVE_${identifier})
endfunction()

if(CMAKE_SYSTEM_PROCESSOR MATCHES "^(x86_64|AMD64|amd64)$")
  adagrad_isa(x86-64 x86_64)
  if(MSVC)
    adagrad_isa(x86-64-v3 x86_64_v3 /arch:AVX2)
    adagrad_isa(x86-64-v4 x86_64_v4 /arch:AVX512)
  else()
    adagrad_isa(x86-64-v3 x86_64_v3 -march=x86-64-v3)
    adagrad_isa(x86-64-v4 x86_64_v4 -march=x86-64-v4)
  endif()
elseif(CMAKE_SYSTEM_PROCESSOR MATCHES "^(aarch64|arm64|ARM64)$")
  adagrad_isa(neon neon)
else()
  adagrad_isa(generic generic)
  if(CMAKE_SYSTEM_PROCESSOR STREQUAL "riscv64")
    target_link_libraries(adagrad_kernels INTERFACE atomic)  # g++ 12 calls it for atomic bytes
  endif()
endif()
