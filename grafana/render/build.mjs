// Bundles the page into dist/. @grafana/* are resolved as `require` would: their CommonJS builds work in a bundle.
import esbuild from 'esbuild';

const commonjs = {
  name: 'grafana-commonjs',
  setup(build) {
    build.onResolve({ filter: /^@grafana\// }, (asked) => {
      if (asked.pluginData === 'resolved') return undefined;
      const { resolveDir, importer } = asked;
      return build.resolve(asked.path, { kind: 'require-call', resolveDir, importer, pluginData: 'resolved' });
    });
  },
};

await esbuild.build({
  entryPoints: ['app.jsx'],
  bundle: true,
  minify: true,
  outfile: 'dist/app.js',
  jsx: 'automatic',
  logLevel: 'error',
  define: { 'process.env.NODE_ENV': '"production"' },
  loader: { '.svg': 'dataurl', '.woff2': 'dataurl', '.ttf': 'dataurl', '.png': 'dataurl' },
  plugins: [commonjs],
});
