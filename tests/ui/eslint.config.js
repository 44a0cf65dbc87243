import css from "@eslint/css";
import js from "@eslint/js";
import baseline from "eslint-plugin-baseline-js";
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

// The last year in which the current Firefox, Chromium and Safari all had what is used; the page is for those of two years ago.
const available = 2024;
const notThere = [
  "shared-workers", // Chrome on Android; each tab has a stream of its own there
  "js-modules-shared-workers",
  "functions-caller-arguments", // `arguments` of a tool's call
];
const notThereInStyles = {
  // Where these do nothing, nothing is missing: a colour, a corner to drag, less work for the browser. `user-select` stands
  // beside its older name.
  allowProperties: ["accent-color", "overflow-anchor", "resize", "user-select"],
  allowPropertyValues: { "content-visibility": ["auto"] },
};

export default [
  {
    files: ["**/*.css"],
    plugins: { css },
    language: "css/css",
    rules: { "css/use-baseline": ["error", { available, ...notThereInStyles }] },
  },
  { files: ["**/*.js"], ...js.configs.recommended },
  {
    files: ["**/*.js"],
    plugins: { "baseline-js": baseline },
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
      "baseline-js/use-baseline": [
        "error",
        {
          available,
          includeWebApis: { preset: "auto" },
          includeJsBuiltins: { preset: "auto" },
          ignoreFeatures: notThere,
        },
      ],
      "no-restricted-properties": ["error", ...dangerous.map((property) => ({ property }))],
    },
  },
];
