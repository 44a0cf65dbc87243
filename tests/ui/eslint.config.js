import js from "@eslint/js";
import globals from "globals";

// What would take text for markup or code, so that nothing a model says can become either.
const dangerous = [
  "innerHTML",
  "outerHTML",
  "insertAdjacentHTML",
  "setHTML",
  "setHTMLUnsafe",
  "srcdoc",
  "parseFromString",
  "createContextualFragment",
];

export default [
  js.configs.recommended,
  {
    languageOptions: { ecmaVersion: 2023, sourceType: "module", globals: globals.browser },
    rules: {
      "no-empty": ["error", { allowEmptyCatch: false }],
      "no-eval": "error",
      "no-implied-eval": "error",
      "no-new-func": "error",
      "no-unused-vars": ["error", { caughtErrors: "none" }],
      "no-var": "error",
      "prefer-const": "error",
      eqeqeq: "error",
      "no-restricted-properties": ["error", ...dangerous.map((property) => ({ property }))],
    },
  },
];
