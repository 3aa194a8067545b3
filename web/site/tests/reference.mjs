// What the page shows, in f64 and by other ways.

/** By its series, and further out by its continued fraction. */
export function erf(x) {
  const a = Math.abs(x);
  if (a < 2.5) {
    let [sum, term] = [a, a];
    for (let k = 1; k < 200; k++) {
      term *= (-a * a) / k;
      sum += term / (2 * k + 1);
    }
    return (Math.sign(x) * 2 * sum) / Math.sqrt(Math.PI);
  }
  let f = 0;
  for (let k = 120; k >= 1; k--) f = k / 2 / (a + f);
  return Math.sign(x) * (1 - Math.exp(-a * a) / Math.sqrt(Math.PI) / (a + f));
}

const logistic = (x) => 1 / (1 + Math.exp(-x));

/** Values and derivatives. */
export const functions = {
  relu: [(x) => Math.max(x, 0), (x) => Number(x > 0)],
  leaky_relu: [(x) => (x > 0 ? x : 0.01 * x), (x) => (x > 0 ? 1 : 0.01)],
  sigmoid: [logistic, (x) => logistic(x) * logistic(-x)],
  tanh: [Math.tanh, (x) => 1 / Math.cosh(x) ** 2],
  silu: [(x) => x * logistic(x), (x) => logistic(x) * (1 + x * logistic(-x))],
  gelu: [(x) => (x * (1 + erf(x / Math.SQRT2))) / 2, (x) => (1 + erf(x / Math.SQRT2)) / 2 + (x * Math.exp((-x * x) / 2)) / Math.sqrt(2 * Math.PI)],
};

export function softmax(x) {
  const most = Math.max(...x);
  const e = x.map((x) => Math.exp(x - most));
  const sum = e.reduce((a, b) => a + b, 0);
  return e.map((e) => e / sum);
}

/** The page's random numbers: xorshift32 and Box & Muller. */
export function noise(seed) {
  let s = seed | 0;
  const uniform = () => {
    s ^= s << 13;
    s ^= s >>> 17;
    s ^= s << 5;
    return (s >>> 0) / 4294967296;
  };
  const normal = () => {
    const radius = Math.sqrt(-2 * Math.log(1 - uniform()));
    return radius * Math.cos(2 * Math.PI * uniform());
  };
  return { uniform, normals: (length, deviation = 1) => Array.from({ length }, () => Math.fround(deviation * normal())) };
}

/** a [rows, depth] times b [depth, columns]. */
export function multiply(a, b, rows, depth, columns) {
  return Array.from({ length: rows * columns }, (_, i) => {
    const [row, column] = [Math.floor(i / columns), i % columns];
    let sum = 0;
    for (let k = 0; k < depth; k++) sum += a[row * depth + k] * b[k * columns + column];
    return sum;
  });
}

/** The transpose of [rows, columns]. */
export const transposed = (a, rows, columns) => Array.from(a, (_, i) => a[(i % rows) * columns + Math.floor(i / rows)]);

export const mean = (values) => values.reduce((a, b) => a + b, 0) / values.length;
