// How files reach the page: chosen, dropped (also as folders), or taken with the camera.

import { about, attempt } from "./api.js";

const $ = (selector) => document.querySelector(selector);
const PICTURE = /\.(jpe?g|png|webp|gif|bmp|tiff?|p[pg]m|jp2|avif|hei[cf])$/i;
export const ACCEPT = "image/*,.heic,.heif,.tif,.tiff,.avif,.jp2";

// The files that were chosen; the same ones can be chosen again.
export function taken(input) {
  const files = [...input.files];
  input.value = "";
  return files;
}

// Of a folder, the pictures.
export function picturesOf(files) {
  const found = files.filter((file) => PICTURE.test(file.name) && !file.name.startsWith("."));
  if (!found.length) throw new Error("There is no picture in this folder.");
  return found;
}

// Call back with the files that are dropped on a box.
export function onDrop(box, take) {
  const over = (whether) => box.classList.toggle("over", whether);
  box.addEventListener("dragover", (event) => { event.preventDefault(); over(true); });
  box.addEventListener("dragleave", (event) => { if (!box.contains(event.relatedTarget)) over(false); });
  box.addEventListener("drop", async (event) => {
    event.preventDefault();
    over(false);
    const files = await attempt(() => dropped(event.dataTransfer));
    if (files) take(files);
  });
}

async function dropped(transfer) {
  const files = [...transfer.files];
  if (!files.length) throw new Error("That is no file: save the picture first, or copy and paste it.");
  const items = [...transfer.items].filter((item) => item.kind === "file"); // to be asked before the first await
  const folders = items.map((item) => item.webkitGetAsEntry()).filter((entry) => entry?.isDirectory);
  if (!folders.length) return files;
  const names = new Set(folders.map((folder) => folder.name));
  const inside = (await Promise.all(folders.map(filesIn))).flat();
  return [...files.filter((file) => !names.has(file.name)), ...picturesOf(inside)];
}

async function filesIn(folder) {
  const reader = folder.createReader();
  const found = [];
  for (;;) { // some entries at a time
    const entries = await new Promise((resolve, reject) => { reader.readEntries(resolve, reject); });
    if (!entries.length) return found;
    for (const entry of entries) {
      if (entry.isDirectory) found.push(...await filesIn(entry));
      else found.push(await new Promise((resolve, reject) => { entry.file(resolve, reject); }));
    }
  }
}

// Whether the browser lets the page show what the camera sees: on the machine's own address, or with HTTPS.
export const hasCamera = Boolean(navigator.mediaDevices?.getUserMedia);

const REASONS = {
  NotAllowedError: "The browser does not allow the camera: allow it beside the page's address, or choose a file.",
  NotFoundError: "No camera was found: choose a file.",
  NotReadableError: "Another program is using the camera: close it, or choose a file.",
};
let shots = 0;

// Show what the camera sees, and return the photograph that is taken, or null.
export async function photograph() {
  const box = $("#camera-box");
  const video = box.querySelector("video");
  const shoot = $("#shoot");
  const wanted = { video: { facingMode: "environment", width: { ideal: 1920 }, height: { ideal: 1080 } } };
  const stream = await navigator.mediaDevices.getUserMedia(wanted).catch((error) => {
    throw new Error(REASONS[error.name] || `The camera cannot be used: ${error.message}`);
  });
  let shot = null;
  const take = () => {
    shot = document.createElement("canvas");
    [shot.width, shot.height] = [video.videoWidth, video.videoHeight];
    shot.getContext("2d").drawImage(video, 0, 0);
  };
  const ready = () => { shoot.disabled = false; shoot.focus(); };
  shoot.addEventListener("click", take);
  video.addEventListener("loadeddata", ready, { once: true });
  video.srcObject = stream;
  box.showModal();
  await new Promise((resolve) => { box.addEventListener("close", resolve, { once: true }); });
  shoot.removeEventListener("click", take);
  video.removeEventListener("loadeddata", ready);
  for (const track of stream.getTracks()) track.stop();
  video.srcObject = null;
  shoot.disabled = true; // until the camera is on again
  if (!shot) return null;
  const content = await new Promise((resolve) => { shot.toBlob(resolve, "image/jpeg", 0.95); });
  shots += 1;
  return new File([content], `camera-${shots}.jpg`, { type: "image/jpeg" });
}

// More pictures than a project takes are refused before the first is sent.
export async function checkCount(count) {
  const { limits } = await about;
  if (count > limits.pictures) {
    throw new Error(`${count} pictures are more than the ${limits.pictures} that can be uploaded: start semcorr app --folder FOLDER instead.`);
  }
}
