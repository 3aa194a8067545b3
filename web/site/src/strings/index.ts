// The languages of the page, and which one is shown.

import { en, type Strings } from './en';
import { zh } from './zh';

export type { Strings };

export const languages = {
  en: { name: 'English', tag: 'en', strings: en },
  zh: { name: '中文', tag: 'zh-Hans', strings: zh },
} as const satisfies Record<string, { name: string; tag: string; strings: Strings }>;

export type Language = keyof typeof languages;

const KEY = 'wgpu-activations language';

/** The language that was chosen, else the browser's. */
export function preferred(): Language {
  let kept: string | null = null;
  try {
    kept = localStorage.getItem(KEY);
  } catch {
    // A browser may refuse to keep anything.
  }
  if (kept === 'en' || kept === 'zh') return kept;
  return navigator.languages.find((tag) => /^(en|zh)\b/i.test(tag))?.toLowerCase().startsWith('zh') ? 'zh' : 'en';
}

export function keep(language: Language) {
  try {
    localStorage.setItem(KEY, language);
  } catch {
    // Then it holds for this visit.
  }
}

/** When to take a function, where there is something to say. */
export function note(strings: Strings, name: string): string | undefined {
  return (strings.notes as Record<string, string | undefined>)[name];
}
