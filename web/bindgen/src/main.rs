//! `wgpu-activations-bindgen IN.wasm FOLDER`: what `wasm-bindgen --target web` does.

fn main() -> std::process::ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [input, folder] = &arguments[..] else {
        eprintln!("usage: wgpu-activations-bindgen IN.wasm FOLDER");
        return std::process::ExitCode::from(2);
    };
    let mut bindgen = wasm_bindgen_cli_support::Bindgen::new();
    let done = bindgen.input_path(input).out_name("native").web(true).and_then(|bindgen| {
        bindgen
            .omit_default_module_path(false)
            .typescript(false)
            .generate(folder)
    });
    match done {
        Ok(()) => std::process::ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("wasm-bindgen: {error:#}");
            std::process::ExitCode::FAILURE
        }
    }
}
