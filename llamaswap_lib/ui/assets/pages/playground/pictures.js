/** Pictures that are sent along: from a file, the clipboard or dropped; huge ones are scaled down. */

import { notify } from "../../parts/notices.js";

const LONGEST_SIDE = 1536; // pixels; what vision models read at most
const LARGEST = 1_500_000; // bytes of a file that is sent as it is
const MOST = 8;
const AS_IT_IS = new Set(["image/png", "image/jpeg", "image/webp", "image/gif"]);

/** Data URLs of the pictures among these files; what cannot be read is told. @param {Iterable<File>} files @param {number} already */
export async function readPictures(files, already) {
  const found = [];
  for (const file of files) {
    if (already + found.length >= MOST) {
      notify(`A message takes ${MOST} pictures at most`, "fail");
      break;
    }
    try {
      found.push(await readPicture(file));
    } catch {
      notify(`${file.name || "The file"} is no picture that this browser can read`, "fail");
    }
  }
  return found;
}

/** @param {File} file @returns {Promise<string>} */
async function readPicture(file) {
  const bitmap = await createImageBitmap(file);
  const scale = Math.min(1, LONGEST_SIDE / Math.max(bitmap.width, bitmap.height));
  if (scale === 1 && file.size <= LARGEST && AS_IT_IS.has(file.type)) {
    bitmap.close();
    return asDataUrl(file);
  }
  const canvas = document.createElement("canvas");
  canvas.width = Math.max(1, Math.round(bitmap.width * scale));
  canvas.height = Math.max(1, Math.round(bitmap.height * scale));
  const context = /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d"));
  context.fillStyle = "white"; // JPEG knows no transparency
  context.fillRect(0, 0, canvas.width, canvas.height);
  context.drawImage(bitmap, 0, 0, canvas.width, canvas.height);
  bitmap.close();
  return canvas.toDataURL("image/jpeg", 0.9);
}

/** @param {Blob} blob @returns {Promise<string>} */
export function asDataUrl(blob) {
  return new Promise((resolve, reject) => {
    const reader = new FileReader();
    reader.onload = () => resolve(String(reader.result));
    reader.onerror = () => reject(reader.error);
    reader.readAsDataURL(blob);
  });
}

/** Pictures among what was pasted or dropped. @param {DataTransfer | null} given */
export const picturesIn = (given) => [...(given?.files ?? [])].filter((file) => file.type.startsWith("image/"));
