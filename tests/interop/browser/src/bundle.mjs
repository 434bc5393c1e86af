// Makes one script of page/ that a page can evaluate.
import { fileURLToPath } from "node:url";
import { build } from "esbuild";

const here = fileURLToPath(new URL("..", import.meta.url));

// The generated clients live in web/; their library is to be the one installed here.
const ownLibraries = {
  name: "own-libraries",
  setup(build) {
    build.onResolve({ filter: /^@(bufbuild|connectrpc)\// }, ({ path, kind, pluginData }) =>
      pluginData === "resolved" ? undefined : build.resolve(path, { kind, resolveDir: here, pluginData: "resolved" }),
    );
  },
};

export async function bundle() {
  const { outputFiles } = await build({
    absWorkingDir: here,
    entryPoints: ["page/index.ts"],
    bundle: true,
    write: false,
    format: "iife",
    target: "es2022",
    plugins: [ownLibraries],
  });
  return outputFiles[0].text;
}
