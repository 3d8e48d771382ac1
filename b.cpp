#include <cstdint>
#include <cstdio>
template <class Block>
void encode(const float* x, void* out, int64_t n);
struct A {};
struct B {};
int main() {
  float x[4] = {1, 2, 3, 4}, y[4];
  auto f = encode<B>;
  f(x, y, 4);
  encode<A>(x, x, 4);
  printf("%g %g\n", y[3], x[3]);
}
