# Object files built with extra instruction-set flags may define nothing but their own functions: an inline function of
# a shared header, compiled there and kept by the linker for all, would run on a processor that lacks the instructions.
#   cmake -DNM=nm -DOBJECTS=a.o,b.o -DOWN=regex -P check_symbols.cmake
string(REPLACE "," ";" OBJECTS "${OBJECTS}")
foreach(object ${OBJECTS})
  execute_process(COMMAND ${NM} -C --defined-only ${object} OUTPUT_VARIABLE symbols COMMAND_ERROR_IS_FATAL ANY)
  string(REPLACE ";" "," symbols "${symbols}")
  string(REPLACE "\n" ";" symbols "${symbols}")
  foreach(symbol ${symbols})
    if(symbol MATCHES "^[0-9a-f]+ [A-Zuvw] (.*)" AND NOT CMAKE_MATCH_1 MATCHES "${OWN}")
      message(SEND_ERROR "${object} exports ${symbol}")
    endif()
  endforeach()
endforeach()
