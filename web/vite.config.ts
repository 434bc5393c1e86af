import { defineConfig } from "vite";

// The output is checked in and embedded in the binary, so it must come out the same everywhere:
// nothing here may depend on the time, the machine or the folder.
export default defineConfig({
  base: "/",
  publicDir: false,
  envPrefix: "PORTAL_CONSOLE_",
  build: {
    target: "es2022",
    rollupOptions: { input: ["index.html", "verify.html"] },
    // A strict content security policy allows neither inline scripts nor data: addresses.
    assetsInlineLimit: 0,
    modulePreload: false,
    reportCompressedSize: false,
    license: { fileName: "assets/licenses.md" },
  },
});
