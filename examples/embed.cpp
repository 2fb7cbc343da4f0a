/* c++ -std=c++17 -O3 -fno-math-errno -ffp-contract=off -o embed examples/embed.cpp \
       -I "$(python -c 'import adagrad; print(adagrad.get_include())')"

   AdaGrad without Python. Gives the bits of adagrad.step and adagrad.step_rows. */
#include <adagrad/rows.hpp>
#include <cstdio>

int main() {
  using Textbook = adagrad::Plain<adagrad::Evaluation::product_first>;
  adagrad::Params<float> params;  // w -= (lr * g) / sqrt(s + eps_inside)
  params.lr = 0.5F;

  float w[6] = {}, s[6] = {}, g[6] = {3, -0.1F, 7, 1e-3F, 0, -1e4F};
  for (int t = 0; t < 3; ++t) adagrad::dense<Textbook>(w, g, s, 6, params);

  // The same arrays as a table of three rows of two. Row 2 has two gradients, which are applied in
  // order.
  const std::size_t ids[] = {2, 0, 2};
  const auto table = adagrad::separate(w, s, 2, false);
  const adagrad::Batch<float, const std::size_t*> batch{ids, g, nullptr, nullptr, 3, false, false};
  adagrad::visit_rows<Textbook>(table, batch, params, adagrad::Visit::update);

  for (float x : w) std::printf("%a\n", static_cast<double>(x));
}
