/** Headless Chromium for tests of what runs in a page. */
import { existsSync } from 'node:fs';
import { type Browser, chromium } from 'playwright-core';

/** Where Chromium is, if it is anywhere; `test` names who goes without it. */
export function findChromium(test: string): string | undefined {
  const path = [process.env.CHROMIUM_PATH, '/usr/bin/chromium', '/usr/bin/google-chrome'].find(p => p && existsSync(p));
  if (!path) console.warn(`${test}: skipped, no Chromium found (set CHROMIUM_PATH)`);
  return path;
}

/** Chromium with WebGPU on its software adapter. */
export const launch = (executablePath: string): Promise<Browser> =>
  chromium.launch({
    executablePath,
    args: [
      '--no-sandbox',
      '--disable-background-networking',
      '--disable-component-update',
      '--enable-unsafe-webgpu',
      '--use-webgpu-adapter=swiftshader',
      // Else SwiftShader compiles one store for each word of workgroup memory, in seconds.
      '--disable-dawn-features=use_vulkan_zero_initialize_workgroup_memory_extension',
    ],
  });
