// What `make lint` holds the page's scripts to.

/** What browsers give to the page; what is not here, it does not use. */
const browser = [
  'Blob', 'CustomEvent', 'EventTarget', 'FormData', 'HTMLVideoElement', 'MediaSource', 'ResizeObserver', 'URL',
  'URLSearchParams', 'VideoFrame', 'WebSocket', 'clearInterval', 'clearTimeout', 'console', 'createImageBitmap', 'document', 'fetch',
  'getComputedStyle', 'localStorage', 'location', 'performance', 'setInterval', 'setTimeout', 'structuredClone', 'window',
];

export default [
  {
    files: ['src/page/assets/*.js'],
    languageOptions: {
      ecmaVersion: 2024,
      sourceType: 'module',
      globals: Object.fromEntries(browser.map((name) => [name, 'readonly'])),
    },
    linterOptions: { reportUnusedDisableDirectives: 'error' },
    rules: {
      // Mistakes.
      'array-callback-return': 'error',
      'consistent-return': 'error',
      'constructor-super': 'error',
      'for-direction': 'error',
      'getter-return': 'error',
      'no-async-promise-executor': 'error',
      'no-compare-neg-zero': 'error',
      'no-cond-assign': 'error',
      'no-const-assign': 'error',
      'no-constant-binary-expression': 'error',
      'no-constant-condition': 'error',
      'no-debugger': 'error',
      'no-dupe-class-members': 'error',
      'no-dupe-else-if': 'error',
      'no-dupe-keys': 'error',
      'no-empty': 'error',
      'no-fallthrough': 'error',
      'no-func-assign': 'error',
      'no-import-assign': 'error',
      'no-irregular-whitespace': 'error',
      'no-loss-of-precision': 'error',
      'no-promise-executor-return': 'error',
      'no-redeclare': 'error',
      'no-self-assign': 'error',
      'no-self-compare': 'error',
      'no-shadow': 'error',
      'no-this-before-super': 'error',
      'no-undef': 'error',
      'no-unreachable': 'error',
      'no-unsafe-finally': 'error',
      'no-unsafe-negation': 'error',
      'no-unsafe-optional-chaining': 'error',
      'no-unused-private-class-members': 'error',
      'no-unused-vars': ['error', { args: 'after-used', argsIgnorePattern: '^_|^now$' }],
      'no-use-before-define': ['error', { functions: false }],
      'use-isnan': 'error',
      'valid-typeof': 'error',
      // What the content security policy forbids, and what lets words of others become elements.
      'no-eval': 'error',
      'no-implied-eval': 'error',
      'no-new-func': 'error',
      'no-script-url': 'error',
      'no-restricted-properties': [
        'error',
        ...['innerHTML', 'outerHTML', 'insertAdjacentHTML'].map((property) => ({ property, message: 'element() makes elements.' })),
        { object: 'document', property: 'write', message: 'element() makes elements.' },
      ],
      // One way to say a thing.
      curly: ['error', 'multi-line'],
      eqeqeq: 'error',
      'no-else-return': 'error',
      'no-var': 'error',
      'object-shorthand': 'error',
      'prefer-const': 'error',
      'prefer-template': 'error',
    },
  },
];
