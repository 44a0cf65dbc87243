/** Text of others with what cannot be seen made visible: signs that turn the direction of text around. */

const TURNING = /[\u202a-\u202e\u2066-\u2069]/g;

/** Such signs as `⟨U+202E⟩`, so that what is read is what is there. @param {string} text */
export const visible = (text) =>
  text.replace(TURNING, (sign) => `⟨U+${sign.charCodeAt(0).toString(16).toUpperCase()}⟩`);
