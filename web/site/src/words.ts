/** What went wrong, in words. */
export function words(error: unknown): string {
  const text = error instanceof Error ? error.message : String(error);
  return text || 'an error without words';
}
