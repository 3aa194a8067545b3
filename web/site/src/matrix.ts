// Products of small matrices, row by row in f32.

/** [rows, depth] times [depth, columns]. */
export function multiply(a: Float32Array, b: Float32Array, rows: number, depth: number, columns: number): Float32Array {
  const c = new Float32Array(rows * columns);
  for (let i = 0; i < rows; i++) {
    for (let k = 0; k < depth; k++) {
      const factor = a[i * depth + k]!;
      if (factor === 0) continue;
      const from = k * columns;
      const to = i * columns;
      for (let j = 0; j < columns; j++) c[to + j]! += factor * b[from + j]!;
    }
  }
  return c;
}

/** The transpose of [rows, columns]. */
export function transposed(a: Float32Array, rows: number, columns: number): Float32Array {
  const b = new Float32Array(a.length);
  for (let i = 0; i < rows; i++) for (let j = 0; j < columns; j++) b[j * rows + i] = a[i * columns + j]!;
  return b;
}

export function mean(values: ArrayLike<number>, of: (value: number, i: number) => number = (value) => value): number {
  let sum = 0;
  for (let i = 0; i < values.length; i++) sum += of(values[i]!, i);
  return sum / values.length;
}
