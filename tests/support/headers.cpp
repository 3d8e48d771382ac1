// What tests include is precompiled with this file (tests/CMakeLists.txt).
